"""What measures switchover against its peers, in one run, on one machine."""
