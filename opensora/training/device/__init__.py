"""What a run does for the sake of the device that it trains on."""
