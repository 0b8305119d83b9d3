"""What an agent learns from rewards."""
