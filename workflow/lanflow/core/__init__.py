"""What every room needs: errors, files, locks, interruptions, settings, figures."""
