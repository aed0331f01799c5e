"""DPM-Solver++: few-step sampling of models trained with improved DDPM."""

from opensora.schedulers.dpms.dpm_solver import DPMSolver

__all__ = ["DPMSolver"]
