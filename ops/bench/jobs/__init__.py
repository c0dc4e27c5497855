"""What an empty job costs, through each way in."""
