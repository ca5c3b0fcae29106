"""The demonstration: the whole embedded line on a simulated service, from history to pages and remediation."""
