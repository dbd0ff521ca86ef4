"""Containers: what Docker and Kubernetes run over a switched connection.

Docker's attach and exec switch to ``tcp``, a token of its own, and put standard output and
standard error into one stream of octets (:mod:`~switchover.containers.streams`). Kubernetes
uses WebSocket, with a subprotocol that puts a channel's number before each message
(:mod:`~switchover.containers.channels`). Both are applications of what this library
offers to everybody: nothing below knows them.
"""

from __future__ import annotations

from switchover.containers.channels import (
    SUBPROTOCOLS,
    Channel,
    ChannelClosed,
    ChannelData,
    Resize,
    Status,
)
from switchover.containers.docker import Attached, Docker, Execution
from switchover.containers.kubernetes import PodExec, PodStreams, exec_in_pod, pod_exec
from switchover.containers.streams import Demultiplexer, Output, Stream, frame

__all__ = [
    "SUBPROTOCOLS",
    "Attached",
    "Channel",
    "ChannelClosed",
    "ChannelData",
    "Demultiplexer",
    "Docker",
    "Execution",
    "Output",
    "PodExec",
    "PodStreams",
    "Resize",
    "Status",
    "Stream",
    "exec_in_pod",
    "frame",
    "pod_exec",
]
