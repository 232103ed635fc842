// RUN: edgec-opt %s --split-input-file --verify-diagnostics | filecheck %s

// CHECK: 'nn.conv' op result must have shape (1, 6, 6, 6), got (1, 6, 8, 8)
func.func @result_shape(%0 : tensor<1x4x8x8xf32>, %1 : tensor<6x4x3x3xf32>) {
  %r = nn.conv %0, %1 {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x8x8xf32>, tensor<6x4x3x3xf32>) -> tensor<1x6x8x8xf32>
  func.return
}

// -----

// CHECK: 'nn.unary' op result must have element type f32, got f64
func.func @result_element_type(%0 : tensor<2xf32>) {
  %r = nn.unary relu %0 : (tensor<2xf32>) -> tensor<2xf64>
  func.return
}

// -----

// CHECK: 'nn.conv' op operands must have one element type, got f32, f64
func.func @weight_of_another_type(%0 : tensor<1x4x8x8xf32>, %1 : tensor<6x4x3x3xf64>) {
  %r = nn.conv %0, %1 {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x8x8xf32>, tensor<6x4x3x3xf64>) -> tensor<1x6x6x6xf32>
  func.return
}

// -----

// CHECK: 'nn.conv' op input and weight must both have rank 3, 4 or 5, got 4 and 3
func.func @conv_of_different_ranks(%0 : tensor<1x4x8x8xf32>, %1 : tensor<6x4x3xf32>) {
  %r = nn.conv %0, %1 {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x8x8xf32>, tensor<6x4x3xf32>) -> tensor<1x4x8x8xf32>
  func.return
}

// -----

// CHECK: 'nn.conv' op weight must not be empty, got (6, 4, 0, 3)
func.func @conv_with_empty_weight(%0 : tensor<1x4x8x8xf32>, %1 : tensor<6x4x0x3xf32>) {
  %r = nn.conv %0, %1 {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x8x8xf32>, tensor<6x4x0x3xf32>) -> tensor<1x4x8x8xf32>
  func.return
}

// -----

// CHECK: 'nn.conv' op groups must be at least 1, got 0
func.func @conv_without_groups(%0 : tensor<1x4x8x8xf32>, %1 : tensor<6x4x3x3xf32>) {
  %r = nn.conv %0, %1 {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 0 : i64} : (tensor<1x4x8x8xf32>, tensor<6x4x3x3xf32>) -> tensor<1x4x8x8xf32>
  func.return
}

// -----

// CHECK: 'nn.conv' op input channels must be 3 x 1 groups, got 4
func.func @conv_with_wrong_channels(%0 : tensor<1x4x8x8xf32>, %1 : tensor<6x3x3x3xf32>) {
  %r = nn.conv %0, %1 {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x8x8xf32>, tensor<6x3x3x3xf32>) -> tensor<1x4x8x8xf32>
  func.return
}

// -----

// CHECK: 'nn.conv' op filters must divide by 2 groups, got 5
func.func @conv_with_indivisible_filters(%0 : tensor<1x4x8x8xf32>, %1 : tensor<5x2x3x3xf32>) {
  %r = nn.conv %0, %1 {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 2 : i64} : (tensor<1x4x8x8xf32>, tensor<5x2x3x3xf32>) -> tensor<1x4x8x8xf32>
  func.return
}

// -----

// CHECK: 'nn.conv' op stride must have 2 entries, got (1,)
func.func @conv_with_short_stride(%0 : tensor<1x4x8x8xf32>, %1 : tensor<6x4x3x3xf32>) {
  %r = nn.conv %0, %1 {stride = array<i64: 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x8x8xf32>, tensor<6x4x3x3xf32>) -> tensor<1x4x8x8xf32>
  func.return
}

// -----

// CHECK: 'nn.conv' op stride must be at least 1, got (0, 1)
func.func @conv_with_stride_zero(%0 : tensor<1x4x8x8xf32>, %1 : tensor<6x4x3x3xf32>) {
  %r = nn.conv %0, %1 {stride = array<i64: 0, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x8x8xf32>, tensor<6x4x3x3xf32>) -> tensor<1x4x8x8xf32>
  func.return
}

// -----

// CHECK: 'nn.conv' op padding_low must be at least 0, got (-1, 0)
func.func @conv_with_negative_padding(%0 : tensor<1x4x8x8xf32>, %1 : tensor<6x4x3x3xf32>) {
  %r = nn.conv %0, %1 {stride = array<i64: 1, 1>, padding_low = array<i64: -1, 0>, padding_high = array<i64: -1, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x8x8xf32>, tensor<6x4x3x3xf32>) -> tensor<1x4x8x8xf32>
  func.return
}

// -----

// CHECK: 'nn.conv' op a window of 9 positions must fit into the padded size, got 8 + 0 + 0
func.func @conv_larger_than_its_input(%0 : tensor<1x4x8x8xf32>, %1 : tensor<6x4x3x3xf32>) {
  %r = nn.conv %0, %1 {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 4, 1>, groups = 1 : i64} : (tensor<1x4x8x8xf32>, tensor<6x4x3x3xf32>) -> tensor<1x4x8x8xf32>
  func.return
}

// -----

// CHECK: 'nn.conv' op bias must have shape (6,), got (4,)
func.func @conv_with_long_bias(%0 : tensor<1x4x8x8xf32>, %1 : tensor<6x4x3x3xf32>, %2 : tensor<4xf32>) {
  %r = nn.conv %0, %1, %2 {stride = array<i64: 1, 1>, padding_low = array<i64: 0, 0>, padding_high = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x8x8xf32>, tensor<6x4x3x3xf32>, tensor<4xf32>) -> tensor<1x6x6x6xf32>
  func.return
}

// -----

// CHECK: 'nn.conv_transpose' op input channels must be 5 and divide by 1 groups, got 4
func.func @conv_transpose_with_wrong_channels(%0 : tensor<1x4x8x8xf32>, %1 : tensor<5x4x3x3xf32>) {
  %r = nn.conv_transpose %0, %1 {stride = array<i64: 1, 1>, padding = array<i64: 0, 0>, output_padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x8x8xf32>, tensor<5x4x3x3xf32>) -> tensor<1x4x8x8xf32>
  func.return
}

// -----

// CHECK: 'nn.conv_transpose' op the result must not be empty, got (0, 10)
func.func @conv_transpose_of_nothing(%0 : tensor<1x4x8x8xf32>, %1 : tensor<4x4x3x3xf32>) {
  %r = nn.conv_transpose %0, %1 {stride = array<i64: 1, 1>, padding = array<i64: 5, 0>, output_padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, groups = 1 : i64} : (tensor<1x4x8x8xf32>, tensor<4x4x3x3xf32>) -> tensor<1x4x8x8xf32>
  func.return
}

// -----

// CHECK: 'nn.linear' op input and weight must be [..., K] and [N, K], got (2, 5), (3, 4)
func.func @linear_with_wrong_weight(%0 : tensor<2x5xf32>, %1 : tensor<3x4xf32>) {
  %r = nn.linear %0, %1 : (tensor<2x5xf32>, tensor<3x4xf32>) -> tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'nn.matmul' op operands must be [..., M, K] and [..., K, N], got (2, 5), (4, 3)
func.func @matmul_with_wrong_sizes(%0 : tensor<2x5xf32>, %1 : tensor<4x3xf32>) {
  %r = nn.matmul %0, %1 : (tensor<2x5xf32>, tensor<4x3xf32>) -> tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'nn.batch_norm' op input must have rank 2 to 5, got 1
func.func @batch_norm_without_channels(%0 : tensor<3xf32>, %1 : tensor<3xf32>, %2 : tensor<3xf32>, %3 : tensor<3xf32>, %4 : tensor<3xf32>) {
  %r = nn.batch_norm %0, %1, %2, %3, %4 {eps = 1.0e-5 : f64} : (tensor<3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<3xf32>) -> tensor<3xf32>
  func.return
}

// -----

// CHECK: 'nn.batch_norm' op mean must have shape (3,), got (4,)
func.func @batch_norm_with_long_mean(%0 : tensor<1x3xf32>, %1 : tensor<3xf32>, %2 : tensor<3xf32>, %3 : tensor<4xf32>, %4 : tensor<3xf32>) {
  %r = nn.batch_norm %0, %1, %2, %3, %4 {eps = 1.0e-5 : f64} : (tensor<1x3xf32>, tensor<3xf32>, tensor<3xf32>, tensor<4xf32>, tensor<3xf32>) -> tensor<1x3xf32>
  func.return
}

// -----

// CHECK: 'nn.layer_norm' op normalized_rank must be in 1..2, got 3
func.func @layer_norm_of_too_many_dimensions(%0 : tensor<2x3xf32>, %1 : tensor<3xf32>, %2 : tensor<3xf32>) {
  %r = nn.layer_norm %0, %1, %2 {eps = 1.0e-5 : f64, normalized_rank = 3 : i64} : (tensor<2x3xf32>, tensor<3xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'nn.layer_norm' op scale and shift must have shape (3,), got (4,)
func.func @layer_norm_with_long_scale(%0 : tensor<2x3xf32>, %1 : tensor<4xf32>, %2 : tensor<3xf32>) {
  %r = nn.layer_norm %0, %1, %2 {eps = 1.0e-5 : f64, normalized_rank = 1 : i64} : (tensor<2x3xf32>, tensor<4xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'nn.group_norm' op channels must divide by groups, got 3 and 2
func.func @group_norm_with_indivisible_channels(%0 : tensor<2x3xf32>, %1 : tensor<3xf32>, %2 : tensor<3xf32>) {
  %r = nn.group_norm %0, %1, %2 {eps = 1.0e-5 : f64, groups = 2 : i64} : (tensor<2x3xf32>, tensor<3xf32>, tensor<3xf32>) -> tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'nn.softmax' op axes must be distinct and in 0..1, got (2,)
func.func @softmax_along_no_axis(%0 : tensor<2x3xf32>) {
  %r = nn.softmax %0 {axis = 2 : i64, log = false} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'nn.unary' op params of clamp must have 2 entries, got ()
func.func @clamp_without_params(%0 : tensor<2x3xf32>) {
  %r = nn.unary clamp %0 : (tensor<2x3xf32>) -> tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'nn.binary' op shapes must broadcast together, got [(2, 3), (2, 4)]
func.func @add_of_unequal_sizes(%0 : tensor<2x3xf32>, %1 : tensor<2x4xf32>) {
  %r = nn.binary add %0, %1 : (tensor<2x3xf32>, tensor<2x4xf32>) -> tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'nn.pool' op input must have rank 3, 4 or 5, got 2
func.func @pool_of_rank_2(%0 : tensor<2x3xf32>) {
  %r = nn.pool max %0 {kernel = array<i64: 2, 2>, stride = array<i64: 1, 1>, padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'nn.pool' op padding must be at most half of the window's 2 positions, got 2
func.func @pool_with_much_padding(%0 : tensor<1x4x8x8xf32>) {
  %r = nn.pool max %0 {kernel = array<i64: 2, 2>, stride = array<i64: 1, 1>, padding = array<i64: 2, 0>, dilation = array<i64: 1, 1>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  func.return
}

// -----

// CHECK: 'nn.pool' op a window of 9 positions must fit into the padded size, got 8 + 0 + 0
func.func @pool_larger_than_its_input(%0 : tensor<1x4x8x8xf32>) {
  %r = nn.pool max %0 {kernel = array<i64: 9, 1>, stride = array<i64: 1, 1>, padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  func.return
}

// -----

// CHECK: 'nn.pool' op dilation of avg must be 1, got (2, 1)
func.func @avg_pool_with_dilation(%0 : tensor<1x4x8x8xf32>) {
  %r = nn.pool avg %0 {kernel = array<i64: 2, 2>, stride = array<i64: 1, 1>, padding = array<i64: 0, 0>, dilation = array<i64: 2, 1>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x4x8x8xf32>) -> tensor<1x4x8x8xf32>
  func.return
}

// -----

// CHECK: 'nn.pool' op result must have shape (1, 4, 3, 3), got (1, 4, 4, 4)
func.func @pool_shape_without_ceil_mode(%0 : tensor<1x4x8x8xf32>) {
  %r = nn.pool max %0 {kernel = array<i64: 3, 3>, stride = array<i64: 2, 2>, padding = array<i64: 0, 0>, dilation = array<i64: 1, 1>, ceil_mode = false, count_include_pad = true, divisor = 0 : i64} : (tensor<1x4x8x8xf32>) -> tensor<1x4x4x4xf32>
  func.return
}

// -----

// CHECK: 'nn.adaptive_pool' op result must have rank 4 and positive sizes, got (1, 8, 8)
func.func @adaptive_pool_of_batch(%0 : tensor<1x4x8x8xf32>) {
  %r = nn.adaptive_pool avg %0 : (tensor<1x4x8x8xf32>) -> tensor<1x8x8xf32>
  func.return
}

// -----

// CHECK: 'nn.adaptive_pool' op result must have shape (1, 4, 1, 1), got (1, 2, 1, 1)
func.func @adaptive_pool_of_channels(%0 : tensor<1x4x8x8xf32>) {
  %r = nn.adaptive_pool avg %0 : (tensor<1x4x8x8xf32>) -> tensor<1x2x1x1xf32>
  func.return
}

// -----

// CHECK: 'nn.reduce' op argmax must have one axis, got (0, 1)
func.func @argmax_over_two_axes(%0 : tensor<2x3xf32>) {
  %r = nn.reduce argmax %0 {axes = array<i64: 0, 1>, keep_dims = false} : (tensor<2x3xf32>) -> tensor<i64>
  func.return
}

// -----

// CHECK: 'nn.reduce' op result must have element type i64, got f32
func.func @argmax_of_floats(%0 : tensor<2x3xf32>) {
  %r = nn.reduce argmax %0 {axes = array<i64: 1>, keep_dims = false} : (tensor<2x3xf32>) -> tensor<2xf32>
  func.return
}

// -----

// CHECK: 'nn.reduce' op axes must be distinct and in 0..1, got (1, 1)
func.func @reduce_over_an_axis_twice(%0 : tensor<2x3xf32>) {
  %r = nn.reduce sum %0 {axes = array<i64: 1, 1>, keep_dims = false} : (tensor<2x3xf32>) -> tensor<2xf32>
  func.return
}

// -----

// CHECK: 'nn.resize' op input of bilinear must have rank 4, got 3
func.func @bilinear_of_rank_3(%0 : tensor<1x2x3xf32>) {
  %r = nn.resize bilinear %0 {scales = array<f64: 1.0>, align_corners = false} : (tensor<1x2x3xf32>) -> tensor<1x2x3xf32>
  func.return
}

// -----

// CHECK: 'nn.resize' op scales must be 1 numbers of at least 0, got ()
func.func @resize_without_scales(%0 : tensor<1x2x3xf32>) {
  %r = nn.resize nearest %0 {scales = array<f64>, align_corners = false} : (tensor<1x2x3xf32>) -> tensor<1x2x3xf32>
  func.return
}

// -----

// CHECK: 'nn.reshape' op reshape must keep the number of elements, got (2, 3) to (2, 4)
func.func @reshape_to_another_size(%0 : tensor<2x3xf32>) {
  %r = nn.reshape %0 : (tensor<2x3xf32>) -> tensor<2x4xf32>
  func.return
}

// -----

// CHECK: 'nn.transpose' op permutation must have each of 0..1 once, got (0, 0)
func.func @transpose_twice_the_same(%0 : tensor<2x3xf32>) {
  %r = nn.transpose %0 {permutation = array<i64: 0, 0>} : (tensor<2x3xf32>) -> tensor<2x2xf32>
  func.return
}

// -----

// CHECK: 'nn.concat' op shapes must agree but for axis 1, got [(2, 3), (3, 3)]
func.func @concat_of_nothing_in_common(%0 : tensor<2x3xf32>, %1 : tensor<3x3xf32>) {
  %r = nn.concat %0, %1 {axis = 1 : i64} : (tensor<2x3xf32>, tensor<3x3xf32>) -> tensor<2x6xf32>
  func.return
}

// -----

// CHECK: 'nn.concat' op inputs must not be empty
func.func @concat_of_nothing() {
  %r = nn.concat {axis = 0 : i64} : () -> tensor<2x6xf32>
  func.return
}

// -----

// CHECK: 'nn.slice' op slice must have 2 starts, sizes and steps, got 1, 2 and 2
func.func @slice_with_few_starts(%0 : tensor<2x3xf32>) {
  %r = nn.slice %0 {starts = array<i64: 0>, steps = array<i64: 1, 1>} : (tensor<2x3xf32>) -> tensor<2x2xf32>
  func.return
}

// -----

// CHECK: 'nn.slice' op slice must stay inside (2, 3), got starts (0, 2), sizes (2, 2), steps (1, 1)
func.func @slice_beyond_the_end(%0 : tensor<2x3xf32>) {
  %r = nn.slice %0 {starts = array<i64: 0, 2>, steps = array<i64: 1, 1>} : (tensor<2x3xf32>) -> tensor<2x2xf32>
  func.return
}

// -----

// CHECK: 'nn.pad' op low and high must have 2 entries, got 1 and 2
func.func @pad_of_one_side(%0 : tensor<2x3xf32>) {
  %r = nn.pad constant %0 {low = array<i64: 0>, high = array<i64: 0, 1>, value = 0.0 : f64} : (tensor<2x3xf32>) -> tensor<2x4xf32>
  func.return
}

// -----

// CHECK: 'nn.pad' op pad must not make a size negative, got (2, -1)
func.func @pad_to_less_than_nothing(%0 : tensor<2x3xf32>) {
  %r = nn.pad constant %0 {low = array<i64: 0, -4>, high = array<i64: 0, 0>, value = 0.0 : f64} : (tensor<2x3xf32>) -> tensor<2x4xf32>
  func.return
}

// -----

// CHECK: 'nn.pad' op reflected pads must be smaller than the size 3, got 3 and 0
func.func @pad_reflects_more_than_there_is(%0 : tensor<2x3xf32>) {
  %r = nn.pad reflect %0 {low = array<i64: 0, 3>, high = array<i64: 0, 0>, value = 0.0 : f64} : (tensor<2x3xf32>) -> tensor<2x6xf32>
  func.return
}

// -----

// CHECK: 'nn.broadcast' op result must have shape (2, 3), got (1, 3)
func.func @broadcast_to_a_smaller_shape(%0 : tensor<2x3xf32>) {
  %r = nn.broadcast %0 : (tensor<2x3xf32>) -> tensor<1x3xf32>
  func.return
}

// -----

// CHECK: Expected attribute i64 but got f64
func.func @permutation_of_floats(%0 : tensor<2x3xf32>) {
  %r = nn.transpose %0 {permutation = array<f64: 0.0, 1.0>} : (tensor<2x3xf32>) -> tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'nn.constant' op result must have the type of its value, tensor<2xf32>, got tensor<3xf32>
func.func @constant_of_another_type() {
  %r = "nn.constant"() <{value = dense<1.0> : tensor<2xf32>}> : () -> tensor<3xf32>
  func.return
}

// -----

// CHECK: 'nn.recurrent' op gates and weight must be [T, N, 3 H] and [3 H, H], got (7, 2, 12), (12, 3)
func.func @recurrent_with_the_gates_of_another_kind(%g: tensor<7x2x12xf32>, %w: tensor<12x3xf32>, %h: tensor<2x3xf32>) {
  %0, %1 = nn.recurrent gru %g, %w from %h {reverse = false} : tensor<7x2x12xf32>, tensor<12x3xf32> from tensor<2x3xf32> -> tensor<7x2x3xf32>, tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'nn.recurrent' op bias must have shape (9,), got (3,)
func.func @recurrent_bias(%g: tensor<7x2x9xf32>, %w: tensor<9x3xf32>, %b: tensor<3xf32>, %h: tensor<2x3xf32>) {
  %0, %1 = nn.recurrent gru %g, %w bias %b from %h {reverse = false} : tensor<7x2x9xf32>, tensor<9x3xf32> bias tensor<3xf32> from tensor<2x3xf32> -> tensor<7x2x3xf32>, tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'nn.recurrent' op initial must have shape (2, 3), got (1, 3)
func.func @recurrent_initial(%g: tensor<7x2x3xf32>, %w: tensor<3x3xf32>, %h: tensor<1x3xf32>) {
  %0, %1 = nn.recurrent rnn_relu %g, %w from %h {reverse = false} : tensor<7x2x3xf32>, tensor<3x3xf32> from tensor<1x3xf32> -> tensor<7x2x3xf32>, tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'nn.recurrent' op lstm must have a cell operand
func.func @lstm_without_cell(%g: tensor<7x2x12xf32>, %w: tensor<12x3xf32>, %h: tensor<2x3xf32>) {
  %0, %1 = nn.recurrent lstm %g, %w from %h {reverse = false} : tensor<7x2x12xf32>, tensor<12x3xf32> from tensor<2x3xf32> -> tensor<7x2x3xf32>, tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'nn.recurrent' op gru must have no cell result
func.func @gru_with_cell(%g: tensor<7x2x9xf32>, %w: tensor<9x3xf32>, %h: tensor<2x3xf32>) {
  %0, %1, %2 = nn.recurrent gru %g, %w from %h {reverse = false} : tensor<7x2x9xf32>, tensor<9x3xf32> from tensor<2x3xf32> -> tensor<7x2x3xf32>, tensor<2x3xf32>, tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'nn.recurrent' op result must have shape (7, 2, 3), got (2, 7, 3)
func.func @recurrent_result(%g: tensor<7x2x9xf32>, %w: tensor<9x3xf32>, %h: tensor<2x3xf32>) {
  %0, %1 = nn.recurrent gru %g, %w from %h {reverse = false} : tensor<7x2x9xf32>, tensor<9x3xf32> from tensor<2x3xf32> -> tensor<2x7x3xf32>, tensor<2x3xf32>
  func.return
}

// -----

// CHECK: 'nn.recurrent' op last state must be tensor<2x3xf32>, got tensor<7x3xf32>
func.func @recurrent_last(%g: tensor<7x2x9xf32>, %w: tensor<9x3xf32>, %h: tensor<2x3xf32>) {
  %0, %1 = nn.recurrent gru %g, %w from %h {reverse = false} : tensor<7x2x9xf32>, tensor<9x3xf32> from tensor<2x3xf32> -> tensor<7x2x3xf32>, tensor<7x3xf32>
  func.return
}
