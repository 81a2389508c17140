"""Recorded outputs: tests among them belong to FastVideo."""

collect_ignore_glob = ["*"]
