"""Execution library for Polymarket bots: one call from signal to orders and their true outcome."""
