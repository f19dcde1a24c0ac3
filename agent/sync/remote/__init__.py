"""The heartbeat: what the API hears of the device, and what it asks of it in return (api.md section 6)."""
