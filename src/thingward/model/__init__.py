"""The vocabulary: frozen records, ids, time, errors. No I/O, nothing of ours is imported here."""
