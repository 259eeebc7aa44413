"""Running the steps of builds: guests that nobody sees, and what they leave as layers."""
