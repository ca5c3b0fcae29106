"""The pure steps of counting: functions and small states over columns; no client, no clock, no socket."""
