"""The terminal workbench: screens, views and widgets over the torch-free contract of interp_tui_engine."""
