"""Videos that lie on servers, brought to this machine: asked for by name, checked, never run."""
