"""The project as others receive it: built, installed, beside the official clients."""
