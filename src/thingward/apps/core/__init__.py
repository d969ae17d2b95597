"""Core: the road after sensing. Journal first, then the stages, then the stores; it decides and serves nobody."""
