"""What may happen: profiles to rules, decisions, limits."""
