"""Everything that needs root, behind a closed list of verbs in one helper process."""
