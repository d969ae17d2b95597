"""What can be proven: the evidence ledger, assessments, reports."""
