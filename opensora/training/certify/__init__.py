"""`opensora train --verify-resume`: does a disturbed run end where a straight one does?"""
