"""What compression tokens look at: CREM's attention figure over checkpoints of one's own, with figures by token."""
