"""What Wine 8 lacks and Python 3.12 and later would stop the process over."""

import sys

if sys.version_info >= (3, 12):
    import _winapi

    sys.modules["_wmi"] = None  # propsys.VariantToString
    del _winapi.CopyFile2
