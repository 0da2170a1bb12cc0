# SPDX-License-Identifier: GPL-2.0-only
"""Kernel-log scanner: what the kernel says about itself on the console, as typed findings."""

from harness.klog.model import Finding, Severity
from harness.klog.scanner import Scanner, scan, worst

__all__ = ["Finding", "Scanner", "Severity", "scan", "worst"]
