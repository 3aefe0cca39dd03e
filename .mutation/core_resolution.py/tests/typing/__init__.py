"""What type checkers see of the library."""
