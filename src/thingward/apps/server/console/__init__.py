"""The console: pages rendered on the server; whatever they do, the API does too."""
