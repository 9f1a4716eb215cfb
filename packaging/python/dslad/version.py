__version__ = "0.1.0"  # the project's, as CMakeLists.txt has it
