"""Ways out: webhook, e-mail, syslog, OCSF lines; each takes what it is made for and ignores the rest."""
