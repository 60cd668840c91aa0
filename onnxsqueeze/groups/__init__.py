"""Dependency groups: which channels of which tensors are the same, and can only be removed together."""

from onnxsqueeze.groups.channels import Cause
from onnxsqueeze.groups.coverage import Coverage, coverage
from onnxsqueeze.groups.find import analyse
from onnxsqueeze.groups.group import Group, Groups, Member
from onnxsqueeze.groups.permute import permutable, permute
from onnxsqueeze.groups.remove import remove

__all__ = ["Cause", "Coverage", "Group", "Groups", "Member", "analyse", "coverage", "permutable", "permute", "remove"]
