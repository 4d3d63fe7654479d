"""The task graph of studies: tasks, their store, and engines that run them."""
