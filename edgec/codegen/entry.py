"""The wrapper between the runtime's call frame and the generated program.

The emitter makes one function that every thread of a team runs:

    void edgec_main(i64 tid, i64 nthreads, float **args, float **weights,
                    char *arena, char *scratch, void (*barrier)(void))

`args` holds the inputs, then the outputs; `arena` is shared by the team, `scratch` is
the thread's own. `entry_text` gives the rest of the module: `edgec_entry`, which the
runtime calls with one pointer to

    struct CallFrame {
        i64 nthreads;  void **args;  void **weights;  char *arena;
        char *scratch;  i64 scratch_stride;
        void (*barrier)(void);  void (*parallel)(void (*)(void *), void *, u32, u32);
        i32 (*thread_num)(void);  i32 (*num_threads)(void);
    }

With one thread the OpenMP fields are not read. With more, `parallel` (GOMP_parallel)
starts the team; the team may be smaller than asked for (nested regions, thread limits),
so its size is read inside.
"""

from __future__ import annotations

ENTRY_SYMBOL = "edgec_entry"
"""What the runtime calls: `void edgec_entry(CallFrame *)`."""

MAIN_SYMBOL = "edgec_main"
"""What the emitter defines."""

FRAME_FIELDS = (
    *("nthreads", "args", "weights", "arena", "scratch", "scratch_stride"),
    *("barrier", "parallel", "thread_num", "num_threads"),
)
"""Fields of `CallFrame`, in order; each is 8 bytes."""

_ENTRY = """\
define internal void @edgec_no_barrier() nounwind {
  ret void
}

define internal void @edgec_region(ptr %frame) nounwind {
entry:
@LOADS@
  %tid.small = call i32 %thread_num()
  %tid = zext i32 %tid.small to i64
  %team.small = call i32 %num_threads()
  %team = zext i32 %team.small to i64
  %offset = mul i64 %tid, %scratch_stride
  %own = getelementptr i8, ptr %scratch, i64 %offset
  call void @edgec_main(i64 %tid, i64 %team, ptr %args, ptr %weights, ptr %arena, \
ptr %own, ptr %barrier)
  ret void
}

define void @edgec_entry(ptr %frame) nounwind {
entry:
@LOADS@
  %alone = icmp eq i64 %nthreads, 1
  br i1 %alone, label %one, label %many
one:
  call void @edgec_main(i64 0, i64 1, ptr %args, ptr %weights, ptr %arena, \
ptr %scratch, ptr @edgec_no_barrier)
  ret void
many:
  %asked = trunc i64 %nthreads to i32
  call void %parallel(ptr @edgec_region, ptr %frame, i32 %asked, i32 0)
  ret void
}
"""


def entry_text() -> str:
    """LLVM IR of `edgec_entry` and its helpers, to append to a module.

    The module must define `edgec_main`; nothing in it may be called `edgec_entry`,
    `edgec_region` or `edgec_no_barrier`.
    """
    return _ENTRY.replace("@LOADS@", "\n".join(_loads()))


def _loads() -> list[str]:
    """Load every field of `%frame` into a value of its name."""
    lines: list[str] = []
    for index, name in enumerate(FRAME_FIELDS):
        kind = "i64" if name in ("nthreads", "scratch_stride") else "ptr"
        lines += [
            f"  %{name}.at = getelementptr i8, ptr %frame, i64 {8 * index}",
            f"  %{name} = load {kind}, ptr %{name}.at, align 8",
        ]
    return lines
