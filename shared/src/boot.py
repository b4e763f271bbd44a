# Run by a plugin's interpreter as `PYTHON -I -c THIS MODULE`: checks it, then becomes the worker.
# Must parse under any Python, also 2.7. Exit codes: `shared::exit`.
import gc
import sys

# numpy makes many objects and no garbage: collecting meanwhile costs some milliseconds of the start. The worker enables
# it again.
gc.disable()


def refuse(code, why):
    sys.stderr.write(why + "\n")
    sys.stderr.flush()
    sys.exit(code)


version = "%d.%d.%d" % sys.version_info[:3]
if sys.version_info < (3, 10):
    refuse(73, version)
if sys.implementation.name != "cpython":
    refuse(74, "%s %s" % (sys.implementation.name, version))
import sysconfig

if sysconfig.get_config_var("Py_GIL_DISABLED"):
    refuse(75, version)
try:
    import numpy
except ImportError as error:
    refuse(76, str(error))
try:
    from importlib.machinery import ExtensionFileLoader
    from importlib.util import module_from_spec, spec_from_file_location

    loader = ExtensionFileLoader("nda_worker", sys.argv[1])
    worker = module_from_spec(spec_from_file_location("nda_worker", sys.argv[1], loader=loader))
    loader.exec_module(worker)
except ImportError as error:
    refuse(70, str(error))
worker.main()
