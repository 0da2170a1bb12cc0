# SPDX-License-Identifier: GPL-2.0-only
"""Kernel-log scanner: finds the kernel's reports of faults on the console."""

from harness.klog.model import Finding, Severity
from harness.klog.scanner import Scanner, scan, worst

__all__ = ["Finding", "Scanner", "Severity", "scan", "worst"]
