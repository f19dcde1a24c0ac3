"""What a person, a button or the API asks of the recorder: recordings, marks, the mute."""
