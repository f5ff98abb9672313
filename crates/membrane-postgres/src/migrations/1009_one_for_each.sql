-- What is told that cannot be taken apart would stop whoever gives numbers, and with it all who follow events: another program
-- that writes so is refused. What one has written so already is nobody's event.
DELETE FROM told_events WHERE NOT CASE
    WHEN array_ndims(kinds) = 1 AND array_ndims(session_ids) = 1 AND array_ndims(versions) = 1 THEN
        kinds[1] IS NOT NULL
        AND cardinality(versions) = cardinality(session_ids)
        AND cardinality(kinds) IN (1, cardinality(session_ids))
        AND array_position(kinds, NULL) IS NULL
        AND array_position(session_ids, NULL) IS NULL
        AND array_position(versions, NULL) IS NULL
    ELSE FALSE
END;
ALTER TABLE told_events ADD CONSTRAINT one_for_each CHECK (
    -- Not in an array that begins elsewhere than with 1, nor in an empty one.
    kinds[1] IS NOT NULL
    AND cardinality(session_ids) > 0
    AND cardinality(versions) = cardinality(session_ids)
    AND cardinality(kinds) IN (1, cardinality(session_ids))
    AND array_position(kinds, NULL) IS NULL
    AND array_position(session_ids, NULL) IS NULL
    AND array_position(versions, NULL) IS NULL
);
