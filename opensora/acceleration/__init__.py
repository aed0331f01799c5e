"""Processes, ColossalAI plugins, precision and optimizers; alone imports colossalai."""
