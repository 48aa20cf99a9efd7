"""Tools: functions that any model may call, with arguments that satisfy their schema."""
