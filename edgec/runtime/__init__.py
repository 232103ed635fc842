"""Running compiled models: threads, buffers, the call itself. Only numpy is needed."""
