"""Processes, ColossalAI plugins and precision; the only place that imports colossalai."""
