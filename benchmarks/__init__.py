"""What a datagram costs, beside the peers. METHOD.md says how it is measured."""
