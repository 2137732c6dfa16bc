"""What leaves the project. Open `folding` first."""
