"""The tools that guard the project are tested like the project."""
