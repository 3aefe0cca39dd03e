"""The sans-I/O heart: decisions on integers, and the ports that adapters implement."""
