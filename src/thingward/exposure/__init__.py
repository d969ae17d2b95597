"""What could be exploited: components, vulnerabilities, weak settings, risk."""
