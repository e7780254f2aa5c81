"""The judging page: people compare two responses in a browser."""
