"""The machinery below the app: what is sent goes down from publishing to the transports."""
