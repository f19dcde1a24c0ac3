"""What the owner lets wait: hours of the day, bytes a day, a low battery; and how long the queue will take at that."""
