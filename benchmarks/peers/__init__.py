"""Contestants that need a process of their own, and what they have to answer."""
