-- What is told that cannot be taken apart would stop whoever gives numbers, and with it all who follow events: another program
-- that writes so is refused.
ALTER TABLE told_events ADD CONSTRAINT one_for_each CHECK (
    cardinality(session_ids) > 0
    AND cardinality(versions) = cardinality(session_ids)
    AND cardinality(kinds) IN (1, cardinality(session_ids))
    AND array_position(kinds, NULL) IS NULL
    AND array_position(session_ids, NULL) IS NULL
    AND array_position(versions, NULL) IS NULL
);
