"""Rectified flow: straight paths between data and noise."""

from opensora.schedulers.rf.flow_match import FlowMatch
from opensora.schedulers.rf.rectified_flow import RectifiedFlow

__all__ = ["FlowMatch", "RectifiedFlow"]
