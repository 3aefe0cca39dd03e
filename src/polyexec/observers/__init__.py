"""What stands around an executor: it is told what happened, and can delay nothing."""
