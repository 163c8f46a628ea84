"""Stories told on test beds, with everything that a reader should see: `make demo-rollout`."""
