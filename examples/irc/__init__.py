"""An IRC-like protocol on a switched connection: the worked example of docs/tutorial/irc.md."""
